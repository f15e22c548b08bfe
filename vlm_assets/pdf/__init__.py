"""PDF documents as page images: a page that is one scan gives its own bytes, any other is rendered.

Reads PDF files, writes page images into a spool folder, hands out paths and numbers in page order. `records` is
the way in for sources. `content`, `structure`, `embedded`, `render` and `checks` run in worker processes, driven by
`worker` (the far end) and `pool` (the near end): hostile bytes are never parsed in the calling process.
"""
