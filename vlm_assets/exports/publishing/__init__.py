"""A sealed corpus at the Hugging Face Hub: files by shard and category, sent where changed, shown by one commit."""
