"""From rows to tokens: chat templates, trained spans, the prepared set."""
