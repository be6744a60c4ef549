"""The demo page: try a trained model on images and captions of your own, in a browser on this machine."""
