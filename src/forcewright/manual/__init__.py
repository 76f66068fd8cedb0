"""The manual: every key of every config, every command and every function, written from the code itself."""
