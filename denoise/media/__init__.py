"""Media: a file becomes a signal and everything else the file carries, and a file again."""
