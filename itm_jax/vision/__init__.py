"""From images to region features: backbones, boxes, pooling, and the readers of images and captions."""
