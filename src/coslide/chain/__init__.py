"""The steps of coslide, each from files to files, and the whole chain: build, train, map, evaluate, draw."""
