"""One reader per kind of source; each returns plain arrays or frames on the grid, in stated units."""
