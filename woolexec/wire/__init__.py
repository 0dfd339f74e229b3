"""The wire format: pickles, their out-of-band buffers, and the frames that carry them."""
