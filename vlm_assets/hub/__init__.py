"""Hugging Face repositories and dataset files: what the kinds `hf_dataset`, `hf_image_urls`, `hf_disk` share.

Reads the Hub and data files in Arrow, never decodes an image. Writes downloads below the folder it is given. What a
slice is, and how rows are stored, does not belong here.
"""
