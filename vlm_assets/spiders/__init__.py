"""Spiders of newspaper archives: index → titles → years → issues, one file an archive.

Reads web pages through Scrapy in a child process (`run`), politely; writes what it found below a cache folder.
`crawl` is the way in for sources, `archive` what a spider builds on. Downloading the PDFs is `transfer`'s.
"""
