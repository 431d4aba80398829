"""Limits of the app: its address, and the largest requests."""

HOST = '127.0.0.1'  # Only this machine can reach it.
MOST_IMAGES = 25  # Images of one request.
MOST_RESULTS = 9  # Results of one request that repairs an image.
MOST_FILES = 16  # Pictures of one upload.
MOST_BYTES = 8 * 2**20  # Of one file.
MOST_PIXELS = 2**24  # Of one picture; larger ones are not decoded.
MOST_LETTERS = 200  # Of an expression.
MOST_WAITING = 8  # Requests that wait while another one runs.
