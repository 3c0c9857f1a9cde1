"""Configuration: the typed keys, their composition from words and files, and the command lines of `key=value`."""
