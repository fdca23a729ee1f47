"""What is served over plain HTTP, beside the chat itself."""
