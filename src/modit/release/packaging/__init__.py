"""Releases in the form that other servers take."""
