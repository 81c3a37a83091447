"""Text as tokens: tokenizers, tokenised text, and files of token numbers."""
