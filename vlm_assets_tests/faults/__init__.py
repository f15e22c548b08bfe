"""What the disk does not do, and what ends in the middle, at every step of the line that changes the disk."""
