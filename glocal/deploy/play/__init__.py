"""A model that people drive: sessions that are imagined together, and the web page that they are driven from."""
