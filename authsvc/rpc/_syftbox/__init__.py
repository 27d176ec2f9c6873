"""SyftBox's configuration, its tokens and its URLs."""
