"""The asset checks, and what the last ones said."""
