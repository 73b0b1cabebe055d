"""What a picture's file says of it besides its pixels: EXIF, XMP and IPTC as typed columns."""
