"""Worker processes: started when first needed, fed one request at a time, replaced when they die or fall silent.

Knows nothing of what they do. No library's: those that were tried (concurrent.futures, loky, pebble) import the
caller's main module and leave workers at work behind when it is killed; the first two lose all requests to one crash.
"""
