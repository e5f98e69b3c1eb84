// Pages as folders, each with its data below page-data.
module.exports = { siteMetadata: { title: "Plants" } };
