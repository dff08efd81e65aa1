"""Thalweg: which network, loss, optimizer and learning rate? Answered by experiment."""

__version__ = "0.1.0"
