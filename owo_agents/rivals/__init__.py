"""Rivals: what users would pick instead of OWO-FMTL, under the same protocol."""
