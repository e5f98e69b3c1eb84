// What grows in the sites that the tests build: the same in all of them.
export const release = "release-a";
export const plants = [
  { name: "fern", words: "Ferns like shade, and water in the morning." },
  { name: "palm", words: "Palms like light, and not to be moved." },
];
