"""Laws of neurons, row-column kernels and sampling designs."""
