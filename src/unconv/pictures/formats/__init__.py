"""Read and write PNG, JPEG, TIFF, NPY and FITS safely.

A picture is read into float64 `planes` (C, H, W), worked on, and written back with everything else
as it was: depth, alpha, colour profile, EXIF, resolution, text.  Pillow does PNG, except 16 bits in
more than one channel, which it would cut to 8 and imagecodecs keeps.  simplejpeg decodes JPEG, as
Pillow would do even where pixels are missing; Pillow writes it.  tifffile does TIFF, NumPy NPY,
astropy FITS.  What a camera stored sideways is upright once it is read, and is written so.

Three promises.  The size is read from the header and checked before anything is decoded, and a
compressed stream of more or fewer pixels is refused.  No bit is lost without a word: a kind of file
that cannot be held exactly, or is damaged, is refused.  Writing is atomic: the target is either the
old file or the whole new one.

NaN and infinities of a float file are pixels that nobody saw; they are read as they are.

Not carried: EXIF thumbnails, GeoTIFF and private TIFF tags, PNG palettes, `sBIT` and `bKGD` (they
describe the old pixels); PNG text chunks into other formats; the JPEG comment likewise.  Full EXIF
travels between PNG and JPEG; to and from TIFF only its description, make, model, software, date,
artist, copyright and orientation do, and the exposure and GPS directories do not.
"""

from .files import check_suitable, check_writable, read_picture, write_picture
from .picture import Picture, PictureError

__all__ = [
    "Picture",
    "PictureError",
    "check_suitable",
    "check_writable",
    "read_picture",
    "write_picture",
]
