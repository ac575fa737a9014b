"""What a person or a machine reads of a run: data in, text out."""
