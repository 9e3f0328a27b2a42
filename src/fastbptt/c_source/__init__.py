"""A network as C99: one source file and its header, from a plain description.

`network` describes what is written, `formulas` has those of the cells and `links` those of the
outputs, `literals` turns weights into arrays of C, `writing` makes the text.
"""
