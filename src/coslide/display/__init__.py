"""What a console and a notebook show of a result."""
