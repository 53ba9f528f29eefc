"""Declarations of architectures: axes, tensors and the layouts that follow from them."""
