"""A network as C99: one source file and its header, from a plain description.

`network` describes what is written, `cells` has the formulas of the cells and `links` those of the
outputs, `arrays` turns weights into arrays of C, `writing` makes the text.
"""
