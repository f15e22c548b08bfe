"""What words come with images: conversations in every common form, captions and metadata in tables and sidecars.

Reads values, Arrow types, and streams that it is handed; gives normalised conversations, rows, and rows by image.
Where files lie and how a record is stored does not belong here.
"""
