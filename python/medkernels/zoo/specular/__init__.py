"""Specular highlights in endoscopy: marked, filled in, and matching features between frames."""
