"""What words come with images: conversations in every common form, as the corpus keeps them.

Reads column values and Arrow types in memory, gives normalised conversations. No I/O. Which files and rows belong
together, and how a row is stored, does not belong here.
"""
