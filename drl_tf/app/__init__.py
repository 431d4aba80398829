"""The web app: draw, inpaint, blend, compose and score in a browser on this machine."""
