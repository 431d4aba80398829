"""The web app: draw, inpaint, blend, compose and score images in a browser on this machine (--mode=app)."""
