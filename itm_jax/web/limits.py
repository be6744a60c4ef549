"""What a page takes in a request. More is refused with a sentence that says the limit."""

MOST_ITEMS = 20  # captions or images to rank
MOST_CHARACTERS = 1_000  # of a caption
MOST_BYTES = 10_000_000  # of an image file
MOST_BYTES_OF_ALL = 40_000_000  # of all image files of a request
MOST_PIXELS = 40_000_000  # of an image
MOST_BODY = 120_000_000  # bytes of a request: base64 makes 4 bytes of 3, and a long text still gets its sentence
WAITING = 8  # requests that wait for the model; the next one is refused
