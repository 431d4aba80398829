"""What an energy can do with a given image: inpaint, restore, edit, interpolate, compose."""
