"""What travels: pickles, their buffers, and the frames that carry them."""
