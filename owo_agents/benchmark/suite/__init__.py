"""What is to be run: suites as data, read and checked before any work."""
