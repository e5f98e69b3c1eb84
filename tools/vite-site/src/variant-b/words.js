// What variant b says.
export const variant = "b";
export const greeting = "Good evening.";
export const items = ["fern", "moss", "palm", "orchid"];
