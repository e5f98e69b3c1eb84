export const release = "release-a";
export const plants = [
  { name: "fern", words: "Ferns like shade." },
  { name: "palm", words: "Palms like light." },
];
