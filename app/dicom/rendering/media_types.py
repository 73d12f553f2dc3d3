"""The media types of rendered images (PS3.18 Table 8.7.4-1), and what each can hold. Encoders are in encode and animation."""

IMAGE_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/jp2", "image/jph", "image/jxl")
# Those that can hold an ICC profile (PS3.18 8.3.5.1.5), and those that are lossy when asked to (8.3.5.1.2).
ICC_MEDIA_TYPES = ("image/jpeg", "image/png", "image/jp2", "image/jph")
LOSSY_MEDIA_TYPES = ("image/jpeg", "image/jp2", "image/jph", "image/jxl")
ANIMATION_MEDIA_TYPES = ("image/gif",)
