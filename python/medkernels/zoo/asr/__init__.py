"""ASR: explains an image as ellipses on a background, and classifies by a small tree on their attributes."""
