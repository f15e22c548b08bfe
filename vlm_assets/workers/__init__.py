"""Worker processes: started when first needed, fed one request at a time, replaced when they die or fall silent.

Knows nothing of what they do. No library's: concurrent.futures, loky and pebble all leave workers at work behind when
their caller is killed; the first and the last import the caller's main module, the first two lose every request to
one crash.
"""
