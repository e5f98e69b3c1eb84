// The texts of what a first visit does not load; those of the first pages are in texts.ts.

export const m = {
  records: {
    title: "DNS records for HTTP/3",
    about: "Browsers learn of HTTP/3 from their first answer, and from these records before it. They stand beside the A and AAAA records of a name, never beside a CNAME, and only where these lead to the edge itself.",
    name: "Name", type: "Type", ttl: "TTL", value: "Value",
    copy: (name: string) => `Copy the record of ${name}`,
    copyAll: "Copy all of them",
  },
};
