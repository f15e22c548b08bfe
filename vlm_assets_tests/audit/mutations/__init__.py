"""Ways to break a good corpus, and the findings that name each: these and no others.

A *resealed* mutation is what a writer or allocator with a bug would have left: hashes and counts fit what is there.
Whoever imports this has all of them in `registry.MUTATIONS`.
"""

from vlm_assets_tests.audit.mutations import catalogue, files, papers, rows, slices

__all__ = ["catalogue", "files", "papers", "rows", "slices"]
