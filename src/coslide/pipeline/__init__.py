"""One module for each command, from files to files."""
