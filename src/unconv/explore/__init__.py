"""Restore while choosing: a page on this machine that shows what each psf and prior makes.

`unconv explore picture.jpg` serves it; nothing here is public.  From below: what a visitor can
choose (choice.py), the picture and its pixels for the eye (subject.py), what the picture says of
a psf (evidence.py), what a choice makes of a part of it (preview.py), whose turn it is (turns.py),
what each address answers (site.py), and who may ask (server.py).
"""
