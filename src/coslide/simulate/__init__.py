"""A synthetic earthquake, written in the formats that real ones come in; its truth is known, its difficulty chosen."""
