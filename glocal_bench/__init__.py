"""The bench: which tasks methods are compared on, and the very same logs for everybody (`glocal bench`)."""
