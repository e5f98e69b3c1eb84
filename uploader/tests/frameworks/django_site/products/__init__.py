# The one app of the site: products, each with an uploaded sheet.
